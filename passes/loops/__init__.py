"""Program to Program: loops and branches, and the bodies in them."""
