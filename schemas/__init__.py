"""What the data is: tables, modalities, sources, errors and HL7 tables. Literals and pure functions, no I/O."""
