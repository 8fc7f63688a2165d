"""Exact neighbours by cosine: reads numbers of calls, makes them, and prints the seconds.

python benchmarks/peer/neighbours.py FEATURES.npy faiss|scikit-learn COUNT
"""

import sys

import numpy as np
from turns import serve


def _search(kind, rows, count):
    """A function of no arguments: the `count` largest cosines of each row, itself not counted."""
    if kind == 'faiss':
        import faiss

        def search():
            index = faiss.IndexFlatIP(rows.shape[1])
            index.add(rows)
            return index.search(rows, count + 1)[0][:, 1:]

        return search
    from sklearn.neighbors import NearestNeighbors

    def search():
        neighbours = NearestNeighbors(algorithm='brute', metric='euclidean').fit(rows)
        return neighbours.kneighbors(rows, count + 1)[0][:, 1:]

    return search


def main():
    """Searches on request."""
    features, kind, count = sys.argv[1:]
    rows = np.load(features)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    serve(_search(kind, rows, int(count)), lambda neighbours: neighbours[0, 0])


if __name__ == '__main__':
    main()
