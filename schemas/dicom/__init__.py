"""DICOM as the lake reads it: which attributes become which columns, character sets, kinds of objects."""
