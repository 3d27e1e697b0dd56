"""The spaces of two embedders tied together, so that one's networks read the other's vectors."""
