"""MMAD to the letter: how answers are read, scored and set beside what others have published."""
