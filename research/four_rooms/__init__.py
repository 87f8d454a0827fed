"""Four rooms with a heat pump each, as the literature has them: ARX model, condensed program, theta of every entry."""
