"""Settings: what goes before what, and what is said of wrong ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from jobs.cli.init import TEMPLATE
from jobs.services.processes import ProcessId
from jobs.services.state import KafkaRecord, S3Record, Services, write_services
from jobs.settings import Settings, load_settings, read_settings
from schemas.errors import ConfigError

DICOM = "[[sources]]\nname = 'pacs'\nprotocol = 'dicom'\nport = 104\n"
SECRET = "s3cr3t-never-shown"
TWO_PROTOCOLS = """
    [[sources]]
    name = "a"
    protocol = "astm"
    port = 4001
    [[sources]]
    name = "b"
    protocol = "dicom"
    port = 4001
    peer = "::1"
"""


def settings_of(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "some.toml"
    path.write_text(text, "utf-8")
    return load_settings(path)


def refusal(tmp_path: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, text)
    return caught.value


def test_defaults_need_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.listen.host, settings.listen.port, settings.listen.when_away) == (
        "127.0.0.1",
        2575,
        "answer",
    )
    assert settings.ingest.batch_messages == 400_000
    assert settings.topic_partitions == 4
    assert settings.listen.tls is None
    assert settings.sources().get("anything").size_limit == 32 * 1024 * 1024


def test_environment_goes_before_file_goes_before_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHL_KAFKA_BOOTSTRAP", "from-environment:9092")
    monkeypatch.setenv("PHL_STATE_DIR", "/from/environment")
    monkeypatch.setenv("PHL_INGEST_RUNNER_OPTIONS", '["--runner=FlinkRunner"]')
    monkeypatch.setenv("PHL_S3_REGION", "")
    settings = settings_of(
        tmp_path,
        'state_dir = "x"\n[kafka]\nbootstrap = "from-file:9092"\ntopic_prefix = "file."\n[s3]\nregion = "cn-north-1"',
    )
    assert settings.kafka.bootstrap == "from-environment:9092"
    assert settings.kafka.topic_prefix == "file."
    assert settings.kafka.partitions == 4
    assert settings.state_dir == Path("/from/environment")
    assert settings.ingest.runner_options == ("--runner=FlinkRunner",)
    assert settings.s3.region == "cn-north-1", "an empty variable counts as not set"


def test_a_file_in_the_working_folder_is_found_and_one_that_was_asked_for_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phl.toml").write_text("[listen]\nport = 4000\n")
    (tmp_path / "other.toml").write_text("[listen]\nport = 5000\n")
    assert load_settings().listen.port == 4000
    monkeypatch.setenv("PHL_CONFIG", "other.toml")
    assert load_settings().listen.port == 5000
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_settings(Path("absent.toml"))


def test_properties_reach_librdkafka_and_secrets_stay_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHL_KAFKA_PROPERTIES__SASL_PASSWORD", SECRET)
    monkeypatch.setenv("PHL_S3_SECRET_KEY", SECRET)
    settings = settings_of(
        tmp_path,
        """
        [kafka]
        bootstrap = "k:9093"
        [kafka.properties]
        "security.protocol" = "SASL_SSL"
        "socket.keepalive.enable" = true
        "socket.timeout.ms" = 1000
        [lake]
        uri = "s3://bucket/part/"
        [s3]
        endpoint = "https://store.example"
        access_key = "key"
        """,
    )
    connection = settings.kafka_connection()
    assert connection.properties == {
        "bootstrap.servers": "k:9093",
        "security.protocol": "SASL_SSL",
        "socket.keepalive.enable": "true",
        "socket.timeout.ms": "1000",
        "sasl.password": SECRET,
    }
    location = settings.lake_location()
    assert (location.uri, location.endpoint) == ("s3://bucket/part/", "https://store.example")
    assert location.secret_key == SECRET
    assert SECRET not in repr(settings) + repr(connection) + repr(location)
    assert pickle.loads(pickle.dumps(location)) == location


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("[listen]\nprt = 1", "listen.prt"),
        ("[lisen]\nport = 1", "lisen"),
        ("[listen]\nport = 70000", "listen.port"),
        ("[listen]\nport = 'a'", "listen.port"),
        ("[listen]\nwhen_away = 'drop'", "listen.when_away"),
        ("[listen.tls]\ncert = 'c.pem'", "listen.tls.key"),
        ("[listen.tls]\ncert = 'no.pem'\nkey = 'no.pem'", "listen.tls"),
        ("[ingest]\nbatch_messages = 0", "ingest.batch_messages"),
        ("[kafka]\nbootstrap = ''", "kafka.bootstrap"),
        ("[kafka]\nbootstrap = 'broker:port'", "kafka.bootstrap"),
        ("[kafka]\nbootstrap = 'one:9092,,two:9092'", "kafka.bootstrap"),
        ("[kafka]\nbootstrap = 'one:99092'", "kafka.bootstrap"),
        ("[kafka]\nbootstrap = 'one:9092 two:9092'", "kafka.bootstrap"),
        ("[kafka]\ntopic_prefix = 'a b'", "kafka.topic_prefix"),
        ("[kafka.properties]\n'bootstrap.servers' = 'k'", "kafka"),
        ("[kafka.properties]\n'security.protocol' = 'SSL'", "kafka"),
        ("[s3]\naccess_key = 'a'", "s3"),
        ("[s3]\nendpoint = 'store:9000'", "s3.endpoint"),
        ("[[sources]]\nname = 'a b'", "sources[0].name"),
        ("[[sources]]\nport = 1", "sources[0].name"),
        ("[[sources]]\nname = 'a'\n[[sources]]\nname = 'b'\ncharset = 'klingon'", "sources[1].charset"),
        ("[[sources]]\nname = 'a'\ncharset = 'utf-16'", "sources[0].charset"),
        ("[[sources]]\nname = 'a'\ncharset = 'base64'", "sources[0].charset"),
        ("[[sources]]\nname = 'a'\ntime_zone = 'Asia/Guiyang'", "sources[0].time_zone"),
        ("[[sources]]\nname = 'a'\npeer = '10.1.2.3.4'", "sources[0].peer"),
        ("[[sources]]\nname = 'a'\nprotocol = 'smtp'", "sources[0].protocol"),
        ("[[sources]]\nname = 'a'\nprotocol = 'astm'", "sources[0]"),
        ("[[sources]]\nname = 'a'\nprotocol = 'dicom'\npeer = '10.0.0.1'", "sources[0]"),
        ("[[sources]]\nname = 'a'\nprotocol = 'files'\nport = 4001", "sources[0]"),
        ("[[sources]]\nname = 'a'\nprotocol = 'astm'\nport = 4001\nfacility = 'F'", "sources[0]"),
        ("[[sources]]\nname = 'a'\nport = 1\nae_title = 'A'", "sources[0]"),
        (DICOM + "ae_title = 'SEVENTEEN-LETTERS'", "sources[0].ae_title"),
        (DICOM + "calling_ae_titles = ['A\\\\B']", "sources[0].calling_ae_titles[0]"),
        (DICOM + "size_limit = '65 GiB'", "sources[0]"),
        ("[[sources]]\nname = 'a'\nsize_limit = '2 GiB'", "sources[0]"),
        ("[[sources]]\nname = 'a'\n[sources.tls]\ncert = '/nowhere'\nkey = '/nowhere'", "sources[0].tls"),
        ("[[sources]]\nname = 'a'\nidle_timeout = 'soon'", "sources[0].idle_timeout"),
        ("[[sources]]\nname = 'a'\nsize_limit = '32 potatoes'", "sources[0].size_limit"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, setting: str) -> None:
    error = refusal(tmp_path, text)
    assert error.coordinates["setting"] == setting
    assert error.exit_code == 78


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[[sources]]\nname = 'a'\n[[sources]]\nname = 'a'", "sources"),
        ("[[sources]]\nname = 'a'\nport = 1\n[[sources]]\nname = 'b'\nport = 1", "sources"),
        ("[[sources]]\nname = 'a'\nfacility = 'F'\n[[sources]]\nname = 'b'\nfacility = 'F'", "a and b"),
        ("[[sources]]\nname = 'a'\nprotocol = 'astm'\nport = 2575", "at port 2575 senders speak mllp"),
        (TWO_PROTOCOLS, "give b another port"),
        ("[listen]\nport = 2600\nmetrics_port = 2600", "listen.metrics_port"),
        ("[listen]\nmetrics_port = 2600\n[[sources]]\nname = 'a'\nport = 2600", "listen.metrics_port"),
        ("[s3]\nendpoint = 'http://store'", "lake.uri"),
    ],
)
def test_settings_that_do_not_go_together_are_named(tmp_path: Path, text: str, word: str) -> None:
    assert word in str(refusal(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[s3]\nendpoint = 'store:9000'", "http://HOST:PORT"),
        ("[ingest]\nrunner_options = '--runner=FlinkRunner'", "must be a list"),
        ("[[sources]]\nname = 'a'\nprocessing_ids = 'P'", "must be a list"),
        ("[kafka]\nbootstrap = 'broker:port'", "HOST:PORT"),
    ],
)
def test_it_is_said_what_would_be_right(tmp_path: Path, text: str, says: str) -> None:
    assert says in refusal(tmp_path, text).message


@pytest.mark.parametrize("brokers", ["one", "one:9092, two:9093", "[::1]:9092", "[::1]", "SSL://one:9093"])
def test_addresses_of_brokers(tmp_path: Path, brokers: str) -> None:
    assert settings_of(tmp_path, f"[kafka]\nbootstrap = '{brokers}'").kafka.bootstrap == brokers


def test_sources_of_one_port_are_told_apart_by_facility(tmp_path: Path) -> None:
    text = "".join(f"[[sources]]\nname = '{name}'\nport = 2600\nfacility = '{name}'\n" for name in "ab")
    assert {one.port for one in settings_of(tmp_path, text).source_settings} == {2600}


def test_a_wrong_variable_is_named_and_its_value_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHL_LISTEN_PORT", SECRET)
    monkeypatch.setenv("PHL_KAFKA_BOOTSTRP", SECRET)
    monkeypatch.setenv("PHL_NONSENSE", SECRET)
    monkeypatch.chdir(tmp_path)
    settings, problems = read_settings()
    assert settings is None
    assert {problem.setting for problem in problems} == {
        "listen.port (PHL_LISTEN_PORT)",
        "kafka.bootstrp (PHL_KAFKA_BOOTSTRP)",
        "nonsense (PHL_NONSENSE)",
    }
    assert SECRET not in repr(problems)


def test_a_file_that_is_not_toml_is_named_with_its_line(tmp_path: Path) -> None:
    error = refusal(tmp_path, f"[s3]\nsecret_key = {SECRET}\n")
    assert "line 2" in error.message
    assert SECRET not in str(error)


def test_sources_carry_their_settings(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        """
        [[sources]]
        name = "county"
        charset = "GBK"
        processing_ids = ["P", "T"]
        size_limit = "2 MiB"
        idle_timeout = "2m"
        patient_authorities = ["CITY"]
        order_id_scope = "year"
        visit_number_scope = "patient"
        orders_at_word = true
        port = 2600
        peer = "10.1.0.0/16"
        facility = "COUNTY"
        """,
    )
    source = settings.sources().get("county")
    assert (source.charset, source.processing_ids) == ("gb18030", ("P", "T"))
    assert (source.size_limit, source.idle_timeout) == (2 * 1024 * 1024, 120.0)
    assert type(source.size_limit) is int
    scopes = (source.order_id_scope, source.visit_number_scope, source.orders_at_word)
    assert scopes == ("year", "patient", True)
    matched = settings.source_settings[0]
    assert (matched.port, matched.peer, matched.facility) == (2600, "10.1.0.0/16", "COUNTY")


def test_lines_of_instruments_may_be_silent_for_longer(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, "[[sources]]\nname = 'a'\nprotocol = 'astm'\nport = 4001\n[[sources]]\nname = 'b'\n"
    )
    assert settings.sources().get("a").idle_timeout == 86_400
    assert settings.sources().get("b").idle_timeout == 300


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'state_dir = "state"\n[lake]\nuri = "lake"')
    assert settings.state_dir == tmp_path / "state"
    assert settings.lake_location().path == str(tmp_path / "lake")
    assert settings_of(tmp_path, "").state_dir == tmp_path / ".phl", "the default too"


def test_embedded_addresses_come_from_the_state_folder(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'state_dir = "state"')
    for ask in (settings.kafka_connection, settings.lake_location):
        with pytest.raises(ConfigError, match="phl up"):
            ask()
    (tmp_path / "state").mkdir()
    store = S3Record("http://127.0.0.1:1", "key", SECRET, process=ProcessId(1, "then"))
    write_services(tmp_path / "state", Services(s3=store))
    with pytest.raises(ConfigError, match="phl up"):
        settings.kafka_connection()
    write_services(tmp_path / "state", Services(KafkaRecord("127.0.0.1:2"), store))
    assert settings.kafka_connection().bootstrap == "127.0.0.1:2"
    location = settings.lake_location()
    assert (location.uri, location.endpoint, location.secret_key) == (
        "s3://lake/",
        "http://127.0.0.1:1",
        SECRET,
    )
    mode = (tmp_path / "state" / "services.json").stat().st_mode
    assert mode & 0o077 == 0, "only its owner may read the keys"


def test_the_written_file_is_right_as_written_and_with_every_example_taken(tmp_path: Path) -> None:
    assert settings_of(tmp_path, TEMPLATE) == settings_of(tmp_path, "")
    for name in ("listener.pem", "listener-key.pem", "senders-ca.pem"):
        (tmp_path / name).touch()
    lines = [
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in TEMPLATE.splitlines()
    ]
    taken = settings_of(tmp_path, "\n".join(lines))
    assert taken.listen.tls is not None
    assert taken.source_settings[0].name == "county-hospital"
    assert taken.source_settings[0].tls is not None
    defaults = settings_of(tmp_path, "")
    assert taken.state_dir == defaults.state_dir
    assert taken.listen.model_copy(update={"tls": None, "metrics_port": None}) == defaults.listen
    assert taken.ingest.model_copy(update={"metrics_port": None, "processes": None}) == defaults.ingest


@pytest.mark.parametrize("name", ["gbk", "GB2312", "cp936", "gb18030"])
def test_parts_of_gb18030_are_read_as_the_whole(tmp_path: Path, name: str) -> None:
    """In all of them a delimiter can be half an ideograph; messages are split with that in mind."""
    assert (
        settings_of(tmp_path, f"[[sources]]\nname = 'a'\ncharset = '{name}'").sources().get("a").charset
        == "gb18030"
    )


@pytest.mark.parametrize("name", ["shift_jisx0213", "shift_jis_2004", "johab"])
def test_character_sets_that_hide_delimiters_are_refused(tmp_path: Path, name: str) -> None:
    assert "sources[0].charset" in str(refusal(tmp_path, f"[[sources]]\nname = 'a'\ncharset = '{name}'"))


@pytest.mark.parametrize(
    "name", ["utf-8", "ascii", "iso8859-1", "euc_kr", "big5", "cp950", "shift_jis", "cp1251"]
)
def test_other_character_sets_are_taken(tmp_path: Path, name: str) -> None:
    settings_of(tmp_path, f"[[sources]]\nname = 'a'\ncharset = '{name}'")


@pytest.mark.parametrize("options", [["--runner=Nobody"], ["--direct_num_workers=some"]])
def test_options_that_beam_refuses_are_named(
    tmp_path: Path, options: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    from jobs.wiring import contexts

    settings = settings_of(
        tmp_path, f"[lake]\nuri = 'lake'\n[kafka]\nbootstrap = 'a:1'\n[ingest]\nrunner_options = {options!r}"
    )
    with pytest.raises(ConfigError, match=r"ingest\.runner_options"):
        contexts(settings)
    assert "usage" not in capfd.readouterr().err


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    from lake_layout.lake import Lake
    from schemas.tables.ops import LEDGER

    (tmp_path / "file").touch()
    settings = settings_of(tmp_path, "[lake]\nuri = 'file/lake'")
    with pytest.raises(ConfigError, match=r"lake\.uri"):
        Lake(settings.lake_location()).create_missing((LEDGER,))


def test_dicom_sources_are_told_apart_by_their_titles(tmp_path: Path) -> None:
    other = DICOM.replace("pacs", "ct")
    settings = settings_of(tmp_path, DICOM + "ae_title = 'PHL'\n" + other + "calling_ae_titles = ['CT1']")
    first, second = settings.source_settings
    assert (first.ae_title, second.calling_ae_titles) == ("PHL", ("CT1",))
    assert first.source().size_limit == 4 * 1024**3, "an object is never held whole, so it may be large"
    with pytest.raises(ConfigError, match="told apart"):
        settings_of(tmp_path, DICOM + other)
