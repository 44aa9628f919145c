"""Do sparse autoencoders find anything specific when a language model lies or sandbags?"""
