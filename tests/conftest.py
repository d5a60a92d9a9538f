"Every test begins with the same random numbers, whichever ran before it."
import pytest

import dl4smlm as smlm


@pytest.fixture(autouse=True)
def same_random_numbers(): smlm.set_seed(0)
