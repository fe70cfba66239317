"""``normalised/location``: from LOC and LDP (HL7 v2.5.1 §8.9.2, §8.9.5)."""

from __future__ import annotations

from schemas.tables.columns import MASTER_FILE, TEXT, instant, many, normalised, text
from schemas.tables.structures import ADDRESS, CODEABLE_CONCEPT, CONTACT_POINT, ORGANIZATION

LOCATION = normalised(
    "location",
    "What a message says of a place where patients are cared for.",
    *MASTER_FILE,
    text("key_text", "Key of the record: the place as sent.", "LOC-1"),
    text("point_of_care", "Ward or clinic.", "LOC-1.1.1"),
    text("room", "Room.", "LOC-1.2.1"),
    text("bed", "Bed.", "LOC-1.3.1"),
    text("facility", "Facility of the location.", "LOC-1.4.1"),
    text("building", "Building.", "LOC-1.7.1"),
    text("floor", "Floor.", "LOC-1.8.1"),
    text("description", "Description.", "LOC-2"),
    many("types", TEXT, "Types of place (HL7 table 0260).", "LOC-3.1"),
    many("organizations", ORGANIZATION, "Organisations.", "LOC-4"),
    text("organization_name", "Name of the first of them.", "LOC-4.1"),
    many("addresses", ADDRESS, "Addresses.", "LOC-5"),
    text("street", "Street address.", "LOC-5.1.1"),
    text("city", "City.", "LOC-5.3"),
    text("state", "Province or state.", "LOC-5.4"),
    text("postal_code", "Postal code.", "LOC-5.5"),
    text("phone", "Telephone number.", "LOC-6.1, LOC-6.12, LOC-6.7"),
    many("telecoms", CONTACT_POINT, "Telephone numbers.", "LOC-6"),
    many("licenses", CODEABLE_CONCEPT, "Licences.", "LOC-7"),
    many("equipment", TEXT, "Equipment (HL7 table 0261).", "LOC-8.1"),
    text("service", "Service of the place (HL7 table 0442).", "LOC-9.1"),
    many("departments", CODEABLE_CONCEPT, "Departments.", "LDP-2"),
    many("department_services", TEXT, "Services of the departments (HL7 table 0069).", "LDP-3.1"),
    many("specialties", CODEABLE_CONCEPT, "Specialties of the departments.", "LDP-4"),
    many("patient_classes", TEXT, "Classes of visit that are taken (HL7 table 0004).", "LDP-5.1"),
    text("active", "Whether the first department is active: A or I (HL7 table 0183).", "LDP-6.1"),
    *instant("activation_time", "Since when the first department is active.", "LDP-7"),
    *instant("inactivation_time", "Until when the first department was active.", "LDP-8"),
    text("inactivated_reason", "Why the first department is inactive.", "LDP-9"),
    many("notes", TEXT, "Comments.", "NTE-3"),
)
