"""``phl init``: a commented phl.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import ConfigError

TEMPLATE = """\
# Settings of phl. A line that begins with "#" is a default or an example; remove the "#" to change it.
# Each setting has a variable of the environment that goes before it: PHL_KAFKA_BOOTSTRAP, PHL_LAKE_URI,
# PHL_S3_SECRET_KEY, PHL_KAFKA_PROPERTIES__SASL_PASSWORD … Secrets are better kept there.
# Relative paths are relative to this file. `phl check` says what is wrong.

# Where the embedded services keep their data and logs, and the stages the duplicate index.
#state_dir = ".phl"

[kafka]
# Brokers of an outside Kafka; without it `phl up` starts one on this machine.
#bootstrap = "kafka-1:9092,kafka-2:9092"
# Put before the name of every topic.
#topic_prefix = ""
# Of topics that are created; -1 is the cluster's own default.
#partitions = 4
#replication_factor = -1

# Passed on to librdkafka as they are.
[kafka.properties]
#"security.protocol" = "SASL_SSL"
#"sasl.mechanism" = "SCRAM-SHA-512"
#"sasl.username" = "phl"
#"ssl.ca.location" = "/etc/ssl/certs/ca-certificates.crt"

[lake]
# s3://bucket/prefix or a folder; without it `phl up` starts an S3 store on this machine.
#uri = "s3://lake/"

# How to reach the bucket; what is not given is found as AWS' own tools find it.
[s3]
#endpoint = "https://s3.example.org"
#access_key = "…"
#secret_key = "…"
#region = "us-east-1"

[ingest]
# Most messages of a batch; more need more memory.
#batch_messages = 400000
# How many processes read a large batch side by side; without it one for each processor but one, at most four.
#processes = 2
# Prometheus metrics of `phl ingest --every`, on loopback.
#metrics_port = 9465
# Options of Apache Beam's runner; without them the graphs run in this process.
#runner_options = []

[curate]
# How often `phl ingest --every` folds new rows into the curated tables; each time rewrites files.
#every = "60s"
# Most new rows of a table in a batch.
#rows = 2000000

[listen]
# Only this machine reaches it unless told otherwise: MLLP without TLS is neither secret nor safe from changes.
#host = "127.0.0.1"
#port = 2575
# The name under which messages come in that match none of the sources below.
#source = "mllp"
# Prometheus metrics of the listener, on loopback.
#metrics_port = 9464
# While Kafka is away: "answer" AE at once, or let senders "wait".
#when_away = "answer"
#delivery_seconds = 10
# Larger messages go to the lake's objects, and the record in Kafka refers to them.
#object_threshold = "900 kB"
# Bytes of messages held at a time, of all connections together; then senders wait.
#memory_limit = "256 MiB"
#max_connections = 2000
# Associations of DICOM open at a time, of all sources together.
#max_associations = 64

# TLS; with client_ca each sender must show a certificate that it signed.
#[listen.tls]
#cert = "listener.pem"
#key = "listener-key.pem"
#client_ca = "senders-ca.pem"

# One entry for each sender. Messages are told apart by the port they came to, the address they came from (peer)
# or MSH-4 (facility); an entry that names several of these wants all of them.
#[[sources]]
#name = "county-hospital"
# How messages come in: "mllp" (HL7 v2), "astm" (laboratory instruments), "dicom" (images), or as "files".
# A source of astm or dicom has a port of its own.
#protocol = "mllp"
#institution = "520103001"
#port = 2576
#peer = "10.1.0.0/16"
#facility = "COUNTY"
# Of messages that do not say (MSH-18).
#charset = "gb18030"
# Of time stamps without an offset.
#time_zone = "Asia/Shanghai"
# Accepted values of MSH-11 (P production, T training, D debugging); others are recorded and ignored.
#processing_ids = ["P", ""]
# Larger messages are refused (AR; DICOM: A700). An object that comes by DICOM may have 4 GiB, if nothing is said.
#size_limit = "32 MiB"
# Silence after which a connection is closed; of "astm" a day.
#idle_timeout = "5m"
# Which of a patient's identifiers keeps messages of one patient together, by assigning authority (PID-3.4).
#patient_authorities = ["CITY", "COUNTY"]
# Within what an order number names one order: "ever", or "year", "month", "day" where numbers come round again.
#order_id_scope = "ever"
# Within what a visit number names one visit: "ever", "day" (given anew each day) or "patient" (it counts visits).
#visit_number_scope = "ever"
# Whether an order is cancelled, held or discontinued as soon as this source asks for it.
#orders_at_word = false
# What Patient ID of its images holds: "patient", or "examination" where it is the number of one.
#patient_id_role = "patient"
# Assigning authorities whose identifiers no other source may merge, move, rename or link, from now on.
#owned_authorities = ["CITY"]
# TLS at its port, instead of [listen.tls].
#[sources.tls]
#cert = "listener.pem"
#key = "listener-key.pem"

# A laboratory instrument, and how it fills its records: "chemistry", "haematology", "immunoassay",
# "immunoassay-aspects", "number-and-name"; as LIS2-A2 has it, if left out. What it has elsewhere stands in
# [sources.profile].
#[[sources]]
#name = "analyser-1"
#protocol = "astm"
#port = 4001
#instrument_profile = "chemistry"
#[sources.profile]
#test_code = ["R-3.5", "R-3.4"]

# A laboratory that drops result files into a folder or below an S3 prefix (`phl collect`); the mapping says how they
# are read. A file is whole when it has not changed for `settle`, or when the marker lies beside it.
#[[sources]]
#name = "clinic-3"
#protocol = "files"
#path = "drop/clinic-3"
#glob = "*.csv"
#mapping = "clinic-3.toml"
#settle = "2s"
#done_marker = ".done"
#move_to = "drop/taken"

# A PACS or a modality that sends images (C-STORE): the title that it must call us by, the titles that it may call
# itself (any, where they are left out), and how many associations it may have open.
#[[sources]]
#name = "radiology"
#protocol = "dicom"
#port = 11112
#ae_title = "PHL"
#calling_ae_titles = ["PACS1", "CT1"]
#max_associations = 16
"""


def init_command(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("phl.toml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented file of settings; as written it changes nothing."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise ConfigError(
            "CONFIG-FILE", "the file is there already; --force writes over it", file=str(path)
        ) from None
    except OSError:
        raise ConfigError("CONFIG-FILE", "the file cannot be written there", file=str(path)) from None
    typer.echo(f"wrote {path}; phl check says whether it is right")
