"Every network of the table keeps the contract, at every upscale."
import json
from functools import partial

import pytest
import torch

from dl4smlm.card import plain
from dl4smlm.models.contract import CHECKS, UPSCALES, check_model
from dl4smlm.models.zoo import MODELS, create_model, list_models, model_table

# The same plan with fewer channels: the contract is about the plan, and full widths take minutes at an upscale of 16.
NARROW = {
    "srcnn": {"widths": (8, 4)},
    "deepstorm": {"widths": (8, 16, 32), "bottleneck": 64},
    "skipstorm": {"widths": (8, 16, 32), "bottleneck": 64},
    "ustorm": {"widths": (8, 16, 32, 64)},
    "drlstorm": {"widths": (8, 16, 32), "bottleneck": 64},
    "fidstorm": {"width": 16},
}
# Weights at an upscale of 8, each a sum on the page of its network.
PARAMETERS = {"srcnn": 8_129, "deepstorm": 1_366_208, "skipstorm": 1_366_209, "ustorm": 969_408,
              "drlstorm": 2_732_416, "fidstorm": 393_680}


@pytest.mark.parametrize("upscale", UPSCALES)
@pytest.mark.parametrize("name", list_models())
def test_contract(name, upscale):
    make = partial(create_model, name, **NARROW.get(name, {}))
    found = check_model(make, upscale)["found"]
    measured, stated = found["reach"].removesuffix(" px").split(" px, states ")
    assert measured == stated, "reach_px is true but larger than need be: tiles would overlap too much"


@pytest.mark.parametrize("upscale", UPSCALES)
def test_the_other_reading_of_drlstorm_keeps_the_contract(upscale):
    make = partial(create_model, "drlstorm", residual="gauss", **NARROW["drlstorm"])
    check_model(make, upscale)


@pytest.mark.parametrize("upscale", UPSCALES)
@pytest.mark.parametrize("name", list_models())
def test_contract_at_full_width(name, upscale):
    make = partial(create_model, name)
    if upscale < 16: check_model(make, upscale)
    else:
        for promise in ("door", "state", "half precision", "export"): CHECKS[promise](make, upscale)


@pytest.mark.parametrize("name", list_models())
def test_parameters(name):
    if name not in PARAMETERS: pytest.skip("a network of your own")
    assert sum(p.numel() for p in create_model(name, upscale=8).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", list_models())
def test_config_builds_the_same_network(name):
    model = create_model(name, 4, **NARROW.get(name, {}))
    again = create_model(**json.loads(json.dumps(plain(model.config))))  # by way of a card
    again.load_state_dict(model.state_dict())
    x = torch.randn(1, 1, 9, 13)
    with torch.no_grad(): assert torch.equal(model.eval()(x), again.eval()(x))


@pytest.mark.parametrize("upscale", UPSCALES)
def test_table_has_every_network(upscale):
    table = model_table(upscale)
    assert list(table.index) == list(MODELS)
    assert (table > 0).all(axis=None)


def test_table_with_times():
    table = model_table(upscale=2, size_px=8, timed=True)
    assert list(table.columns)[-1] == "time_ms" and (table["time_ms"] > 0).all()


def test_names_of_the_paper_work():
    assert type(create_model("FID-STORM")) is MODELS["fidstorm"]
    with pytest.raises(ValueError, match="Did you mean 'deepstorm'"): create_model("deep storn")
