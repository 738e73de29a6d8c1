"""What is done when the process comes to the bounds of what it may take."""
