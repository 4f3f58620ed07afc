"""Pictures composed by rule from the drawings of OpenMoji, so that what a text asks for can be checked."""
