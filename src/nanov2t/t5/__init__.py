"""nanoV2T and vec2text: T5s that read vectors.

    stages.py       training: stage 1 writes a text, given its vector; stage 2 rewrites a draft
    inference.py    sequence beam search with the two networks

    generator.py    the network of both stages; decoding.py makes it fast
    checkpoints.py  reads our checkpoints and those that nanoV2T and vec2text published
    drafts.py       stage 1's drafts in files, from which stage 2 learns

After Morris et al. 2023, "Text Embeddings Reveal (Almost) As Much As Text" (arXiv 2310.06816).
"""
