# What `import zscap` gives, for type checkers: at run time a name is imported when it is first asked for.

from .caption import Caption as Caption
from .caption import Step as Step
from .captioners.conditional import captioner_model as captioner_model
from .captioners.prefix import PrefixLanguageModel as PrefixLanguageModel
from .classifiers.embedding import EmbeddingClassifier as EmbeddingClassifier
from .classifiers.text import TextClassifier as TextClassifier
from .classifiers.weighted import WeightedClassifiers as WeightedClassifiers
from .decoding import Captioner as Captioner
from .errors import (
    InvalidData as InvalidData,
)
from .errors import (
    InvalidOption as InvalidOption,
)
from .errors import (
    MissingWeights as MissingWeights,
)
from .errors import (
    UnknownPreset as UnknownPreset,
)
from .errors import (
    UnreadableSource as UnreadableSource,
)
from .errors import (
    UnwritableOutput as UnwritableOutput,
)
from .errors import (
    ZscapError as ZscapError,
)
from .language_model import LanguageModel as LanguageModel
from .options import (
    MagicOptions as MagicOptions,
)
from .options import (
    ProximalOptions as ProximalOptions,
)
from .options import (
    SteeringOptions as SteeringOptions,
)
from .preset.load import load as load
from .preset.load import presets as presets

__version__: str
