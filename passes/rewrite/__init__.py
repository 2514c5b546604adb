"""Program to Program: simpler operations, fewer of them, each once."""
