"""Study files, studies that several processes share, and lottery experiments."""
