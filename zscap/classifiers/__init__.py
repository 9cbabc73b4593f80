"""Text classifiers: does what a text says have the wanted property, such as that it can be heard?"""
