"""The wire-compatible faces and what they share: parameters in, formats out."""
