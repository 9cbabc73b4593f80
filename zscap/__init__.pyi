# What `import zscap` gives, for type checkers: at run time a name is imported when it is first asked for.

from .caption import Caption as Caption, Step as Step
from .captioners.prefix import PrefixLanguageModel as PrefixLanguageModel
from .captioners.conditional import captioner_model as captioner_model
from .classifiers.embedding import EmbeddingClassifier as EmbeddingClassifier
from .classifiers.text import TextClassifier as TextClassifier
from .classifiers.weighted import WeightedClassifiers as WeightedClassifiers
from .decoding import Captioner as Captioner
from .errors import (
    InvalidData as InvalidData,
    InvalidOption as InvalidOption,
    MissingWeights as MissingWeights,
    UnknownPreset as UnknownPreset,
    UnreadableSource as UnreadableSource,
    UnwritableOutput as UnwritableOutput,
    ZscapError as ZscapError,
)
from .language_model import LanguageModel as LanguageModel
from .options import (
    MagicOptions as MagicOptions,
    ProximalOptions as ProximalOptions,
    SteeringOptions as SteeringOptions,
)
from .preset.load import load as load, presets as presets

__version__: str
