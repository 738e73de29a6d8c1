"""What bytes mean: pure parsers, bytes in and facts out."""
