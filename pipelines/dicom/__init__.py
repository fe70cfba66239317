"""DICOM headers: from the bytes of a file up to its pixels to rows of the imaging tables."""
