"""The contract between the layers, held on both sides, and what a person is told when it is broken."""

from __future__ import annotations

import pytest

from envmig_stacks.contract import LAYERS, readers_of
from tests.stacks.conftest import ROOT, declared, run


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.layer)
def test_a_layer_exports_what_its_contract_lists(layer: type) -> None:
    assert set(declared(layer.layer).exports) == set(layer.names())  # type: ignore[attr-defined]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.layer)
def test_a_layer_reads_the_layers_that_its_contract_lists(layer: type) -> None:
    """And nothing points back: each reads only layers that are deployed before it."""
    source = "".join(path.read_text() for path in (ROOT / "stacks" / layer.layer).glob("*.py"))  # type: ignore[attr-defined]
    read = tuple(other.layer for other in LAYERS if f"{other.__name__}.read(" in source)
    assert read == layer.reads  # type: ignore[attr-defined]
    before = [other.layer for other in LAYERS[: LAYERS.index(layer)]]
    assert set(read) <= set(before)


def test_the_readers_of_a_layer_are_known() -> None:
    assert readers_of("data") == ("security", "compute")
    assert readers_of("security") == ("compute",)
    assert readers_of("compute") == ()


def test_a_missing_layer_is_named_with_the_command_that_deploys_it() -> None:
    error = run("security")["error"]
    assert "the layer data (stack organization/envmig-data/prod) is not deployed" in error
    assert "scripts/deploy_all.sh TARGET data --suffix prod" in error


def test_a_missing_output_is_named_with_the_command_that_deploys_it() -> None:
    exports = {name: value for name, value in declared("data").exports.items() if name != "buffer_arn"}
    error = run("security", upstream={"organization/envmig-data/prod": exports})["error"]
    assert "without the output buffer_arn" in error
    assert "scripts/deploy_all.sh TARGET data --suffix prod" in error


class TestSuffix:
    def test_the_setting_decides(self) -> None:
        printed = run("data", stack="any", config={"envmig-data:environmentSuffix": "blue"})
        assert {each["inputs"].get("name") for each in printed["resources"]} >= {"envmig-transactions-blue"}

    def test_without_a_setting_the_variable_decides(self) -> None:
        printed = run("data", stack="any", environment={"ENVIRONMENT_SUFFIX": "green"})
        assert {each["inputs"].get("name") for each in printed["resources"]} >= {"envmig-transactions-green"}

    def test_without_either_the_stacks_name_decides(self) -> None:
        printed = run("data", stack="red")
        assert {each["inputs"].get("name") for each in printed["resources"]} >= {"envmig-transactions-red"}

    def test_a_stray_variable_does_not_replace_productions_table(self) -> None:
        error = run(
            "data",
            config={"envmig-data:environmentSuffix": "prod"},
            environment={"ENVIRONMENT_SUFFIX": "dev"},
        )["error"]
        assert "Unset ENVIRONMENT_SUFFIX" in error

    def test_a_suffix_that_no_name_can_hold_is_refused(self) -> None:
        error = run("data", stack="any", environment={"ENVIRONMENT_SUFFIX": "My_Env"})["error"]
        assert "lower-case letters" in error

    def test_a_setting_out_of_range_is_refused(self) -> None:
        error = run("data", config={"envmig-data:indexShards": "0"})["error"]
        assert "a whole number from 1 to 256" in error
