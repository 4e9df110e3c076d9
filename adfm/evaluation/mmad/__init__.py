"""MMAD to the letter: how answers are read, scored and set beside what others have published."""

from adfm.evaluation.mmad.answers import Answer, read_answers
from adfm.evaluation.mmad.scoring import Table, tables
from adfm.reasoning.readers import READERS

__all__ = ["READERS", "Answer", "Table", "read_answers", "tables"]
