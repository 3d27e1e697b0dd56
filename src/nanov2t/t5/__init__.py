"""nanoV2T and vec2text: T5s that read vectors.

    stage1.py       training: write a text, given its vector
    stage2.py       training: rewrite a draft, given the text's vector and the draft's
    inference.py    sequence beam search with the two networks

    generator.py    the network of both stages; decoding.py makes it fast
    checkpoints.py  reads our checkpoints and those that nanoV2T and vec2text published
    drafts.py       stage 1's drafts in files, from which stage 2 learns
    config.py       the settings

After Morris et al. 2023, "Text Embeddings Reveal (Almost) As Much As Text" (arXiv 2310.06816).
"""
