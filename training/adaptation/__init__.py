"""What the methods of domain adaptation are made of: pure functions of arrays, and heads on moved rows.

Every such method here ends in one of two things, or both: a move that takes rows of the source to where
rows of the target lie, and weights of the source's rows. An ordinary head is then fitted on the moved,
weighted rows together with the labelled rows of the target; it takes the target's features as they are,
so that nothing of the adaptation is left to serve.
"""
