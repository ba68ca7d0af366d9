import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from pipeline.config import to_yaml
from pipeline.contracts.errors import ConfigError
from pipeline.slurm.script import resource_options
from pipeline.slurm.site import Resources, SiteConfig
from pipeline.slurm.submit import load_site

EXAMPLE = Path(__file__).parents[3] / "configs" / "site.example.yaml"


def test_the_example_loads_and_one_field_can_be_changed_for_one_call():
    site = load_site(EXAMPLE, ["gpu.memory=64G"])
    assert (site.resources("generate").memory, site.resources("generate").seconds) == ("64G", 4 * 3600)
    assert (site.resources("filter").cpus, site.resources("filter").partition) == (16, "cpu")
    assert "--gpus-per-node=1" in resource_options(site.resources("caption"))
    assert not any("gpu" in option for option in resource_options(site.resources("annotate")))


def test_the_example_names_every_field_and_what_is_commented_out_in_it_loads_too(tmp_path):
    text = EXAMPLE.read_text()
    names = [f.name for cls in (SiteConfig, Resources) for f in fields(cls)]
    assert [name for name in names if not re.search(rf"^ *(# )?{name}:", text, re.MULTILINE)] == []
    whole = tmp_path / "site.yaml"
    whole.write_text(re.sub(r"^( *)# (\w+:)", r"\1\2", text, flags=re.MULTILINE))
    site = load_site(whole, [])
    assert ("--comment=pedestrian images" in site.gpu.options, site.worker[0]) == (True, "apptainer")


def test_without_a_file_the_defaults_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_site(None, []) == SiteConfig()
    assert load_site(None, ["units_per_task=3"]).units_per_task == 3


def test_fields_of_a_section_that_are_not_named_keep_their_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = SiteConfig()
    assert load_site(None, ["gpu.memory=64G"]).gpu == replace(ours.gpu, memory="64G")
    file = tmp_path / "site.yaml"
    file.write_text("gpu: {partition: a100, account: me}\ncpu: # nothing yet\n")
    site = load_site(file, ["gpu.cpus=3"])
    assert site.gpu == replace(ours.gpu, partition="a100", account="me", cpus=3)
    assert site.cpu == ours.cpu
    assert "--gpus-per-node=1" in resource_options(site.resources("generate"))
    assert load_site(file, ["gpu.gpus=0"]).gpu.gpus == 0, "a cluster without GPUs says so"
    with pytest.raises(ConfigError, match="gpu='a100'"):
        load_site(None, ["gpu=a100"])


def test_lists_and_sections_whose_every_line_is_commented_out_are_empty(tmp_path):
    file = tmp_path / "site.yaml"
    file.write_text("gpu: {options: }\ncpu:\nstages: # nothing yet\nsetup:\n#  - module load cuda\nworker:\n")
    assert load_site(file, []) == SiteConfig()
    file.write_text("gpu: {options: [--exclusive]}\nstages: {caption: {options: }, shard: }\n")
    site = load_site(file, [])
    assert (site.gpu.options, site.resources("caption").options) == (("--exclusive",), ())


def test_null_leaves_the_choice_to_the_cluster_for_one_stage_too(tmp_path):
    file = tmp_path / "site.yaml"
    file.write_text("cpu: {memory: 8G, account: me, qos: long, gres: disk:1}\nstages: {filter: {memory: null, cpus: 16}, shard: }\n")
    site = load_site(file, ["stages.filter.account=null", "stages.filter.qos=null", "stages.filter.gres=null"])
    options = resource_options(site.resources("filter"))
    assert "--cpus-per-task=16" in options
    assert not [option for option in options if option.startswith(("--mem", "--account", "--qos", "--gres"))]
    assert site.resources("shard") == site.cpu
    (tmp_path / "resolved.yaml").write_text(to_yaml(site))
    assert load_site(tmp_path / "resolved.yaml", []) == site
    assert "--mem-per-cpu=2G" in resource_options(load_site(file, ["stages.filter.options=[--mem-per-cpu=2G]"]).resources("filter"))


@pytest.mark.parametrize(
    ("gres", "gpus"), [("gpu", 1), ("gpu:4", 4), ("gpu:1g.10gb", 1), ("gpu:a100:2,disk:3", 2), ("shard:8", 1), ("disk:3", 0)]
)
def test_gres_and_gpus_tell_the_same_number(gres, gpus):
    assert f"--gres={gres}" in resource_options(SiteConfig(gpu=Resources(gres=gres, gpus=gpus)).gpu)


def test_an_option_may_hold_what_a_script_line_must_quote():
    site = SiteConfig(gpu=Resources(options=("--exclusive", "--x11", "--comment=a b # c", "--licenses=matlab:1")))
    assert resource_options(site.gpu)[-4:] == ["--exclusive", "--x11", '--comment="a b # c"', "--licenses=matlab:1"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("gpu.partition='two words'", "gpu: partition='two words'; accepted: one word"),
        ('gpu.partition="a\\n#SBATCH --uid=0"', "accepted: one word"),
        ("cpu.time_limit=90", "time_limit=90"),
        ("cpu.time_limit=soon", r"site.example.yaml: cpu: time_limit='soon'; accepted: \[days-\]hours"),
        ("cpu.time_limit='0:00:30'", "one minute or more"),
        ("warning_s=20000", "less than the shortest time_limit"),
        ("drop_s=300", "below warning_s=300"),
        ("gpu.options=[--wrap=x y]", "passerby sets"),
        ("gpu.options=[--comment='a']", "options=.*no quotes"),
        ('gpu.options=["--comment=a\\n#SBATCH --uid=0"]', "line breaks"),
        ("cpu.options=[--mem-per-cpu=2G]", r"cpu: options='--mem-per-cpu=2G'; accepted: only beside memory: null.*memory='8G'"),
        ("stages.filter={memory: 16G, options: [--mem-per-cpu=2G]}", "stages.filter: options='--mem-per-cpu=2G'"),
        ("gpu.options=[--gpus=2]", "options='--gpus=2'; accepted: in its place the field gpus"),
        ("gpu.gres='gpu:a100:4'", "gpu: gpus=1; accepted: 4, as gres='gpu:a100:4' asks for"),
        ("gpu.options=[--mem=2G]", "in its place the field memory"),
        ("stages.filter.cpus=null", "stages.filter: cpus=None; accepted: a whole number"),
        ("stages.filter.cpu=2", "stages.filter: unknown key cpu; did you mean cpus"),
        ("gpu.options=[--job-name=x]", "options='--job-name=x'; accepted: any but array, clusters"),
        ("gpu.options=[--arr=0-3]", "which passerby sets"),
        ("stages.shard.options=[--time=1]", "stages.shard: options='--time=1'.*the time is time_limit"),
        ("stages.gnerate.cpus=2", "stages='gnerate'; accepted: prompts, generate"),
        ("units_per_tasks=2", "did you mean units_per_task"),
    ],
)
def test_what_cannot_be_is_refused_with_field_and_what_is_accepted(change, words):
    with pytest.raises(ConfigError, match=words):
        load_site(EXAMPLE, [change])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-02:03:04", 93784), ("1-12:30", 131400), ("2-6", 194400), ("4:00", 240), ("90:00", 5400), ("4:00:00", 14400)],
)
def test_times_are_read_as_slurm_reads_them(text, seconds):
    assert Resources(time_limit=text).seconds == seconds
