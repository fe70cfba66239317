"""One module per family of messages: which tables it feeds, and from where (HL7's v2-to-FHIR guide)."""
