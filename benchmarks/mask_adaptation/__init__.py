"""Diagnosis of mask adaptation: what the masks of `FeatureMixAdapt` look like in a trained network.

measures    pure functions of masks, attentions and features
settings    settings of `FeatureMixAdapt` and candidates, in a compact spelling
diagnosis   the measures for every mixing point of a network and every setting
page        the record as a page of Markdown and a picture
__main__    the command
"""
