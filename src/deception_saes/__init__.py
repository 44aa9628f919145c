"""Do sparse autoencoders find anything specific when a language model lies or sandbags?"""

from deception_saes import loaded

loaded.record()
