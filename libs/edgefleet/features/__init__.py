"""Features of one instrument, streaming and over columns. Knows nothing of models, streams or venues.

`offline` and `columns` need numpy and are imported by those who want them: services stay lean.
"""

from edgefleet.features.engine import FeatureEngine
from edgefleet.features.spec import FeatureSpec
from edgefleet.features.state import FeatureState
from edgefleet.features.top import Features, Top, TopReader

__all__ = ["FeatureEngine", "FeatureSpec", "FeatureState", "Features", "Top", "TopReader"]
