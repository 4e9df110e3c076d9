"""How good a completion is: named terms that judge a verdict, their weights, and the weighted total."""
