"""What is checked of the Examples: TFDV, and what statistics of single features cannot see."""
