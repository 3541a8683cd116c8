"""Completion in the shells themselves, and its candidates."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from opsconsole.cli import completion
from tests.cli.conftest import Program


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize(
    ("before", "current", "wanted"),
    [
        ([], "sam", ["sample"]),
        ([], "do", ["doctor"]),
        (["--readonly"], "sam", ["sample"]),
        (["sample"], "t", ["things", "ticks"]),
        (["sample", "things"], "", ["destroy", "touch"]),
        (["sample", "echo"], "--co", ["--count", "--confirm"]),
        (["sample", "echo", "--mode"], "", ["plain", "loud"]),
        (["sample", "echo"], "--mode=l", ["--mode=loud"]),
        (["sample", "echo", "--deep"], "--dee", []),
        (["sample", "echo", "--tag", "x"], "--ta", ["--tag", "--tags", "--task"]),
        (["sample", "echo", "--password-file"], "", [completion.FILES]),
        (["sample", "echo", "--input"], "x", [completion.FILES]),
        (["call"], "sample.th", ["sample.things.destroy", "sample.things.touch"]),
        (["call", "sample.echo"], "--pl", ["--plan"]),
        (["db"], "", ["upgrade"]),
        (["unlock"], "--t", ["--ttl"]),
        (["completion"], "", ["bash", "zsh"]),
        (["ops"], "sa", ["sample"]),
        (["nothing", "here"], "", []),
    ],
)
def test_candidates(before: list[str], current: str, wanted: list[str]) -> None:
    assert completion.candidates(before, current) == wanted


@pytest.fixture
def on_path(program: Program, tmp_path: Path) -> Path:
    """A directory with a command named opsconsole."""
    command = tmp_path / "bin" / "opsconsole"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\ncd "{program.root}" && exec {" ".join(program.argv)} "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return command.parent


def _shell(argv: list[str], script: str, on_path: Path, program: Program) -> list[str]:
    environment = program.environment | {"PATH": f"{on_path}:{program.environment['PATH']}"}
    done = subprocess.run(
        [*argv, script], capture_output=True, text=True, check=True, env=environment, cwd=on_path, timeout=110
    )
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def test_bash_completes(program: Program, on_path: Path) -> None:
    script = """
    source <(opsconsole completion bash)
    complete -p opsconsole
    try() {
        COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
        _opsconsole
        echo "${COMPREPLY[*]}"
    }
    try opsconsole sample th
    try opsconsole call sample.ec
    try opsconsole sample echo --mode ''
    try opsconsole sample echo "it's \\$HOME" --ra
    """
    said = _shell(["bash", "--norc", "-c"], script, on_path, program)
    assert said == [
        "complete -F _opsconsole opsconsole",
        "things",
        "sample.echo",
        "plain loud",
        "--ratio",
    ]


def test_zsh_completes(program: Program, on_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    script = """
    source <(opsconsole completion zsh)
    print -r -- ${_comps[opsconsole]}
    compadd() { print -r -- "${(@P)2}" }
    try() { words=("$@"); CURRENT=$#; _opsconsole }
    try opsconsole sample th
    try opsconsole sample echo --mode ''
    try opsconsole call sample.ec
    """
    said = _shell(["zsh", "-f", "-c"], script, on_path, program)
    assert said == ["_opsconsole", "things", "plain loud", "sample.echo"]


def test_the_scripts_are_syntactically_right(program: Program, tmp_path: Path) -> None:
    for shell in ("bash", "zsh"):
        if shutil.which(shell) is None:
            continue
        path = tmp_path / shell
        path.write_bytes(program("completion", shell).out)
        assert subprocess.run([shell, "-n", str(path)], check=False, capture_output=True).stderr == b""
    assert program("completion", "fish").status == 2
