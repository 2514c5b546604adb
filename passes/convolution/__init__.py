"""Convolutions: the forms they are put in, and their loops as contractions."""
