"""The stages of a recipe, one file each: what goes in, what is done, what comes out."""
