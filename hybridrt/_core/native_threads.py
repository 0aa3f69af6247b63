"""How many threads the libraries under Python code may start in each worker: OpenMP, BLAS and the like.

Each of them starts as many as there are CPUs, in each process. In as many workers as there are CPUs that makes CPUs
squared, which wait for each other: workers times threads should be the CPUs. They read their number from the
environment when they are loaded, so it has to be there before a worker imports anything.
"""

from __future__ import annotations

from collections.abc import Mapping

# Variable, and those that its library obeys where this one is not set: what the user says there has to count.
_VARIABLES: dict[str, tuple[str, ...]] = {
    "OMP_NUM_THREADS": (),
    "OPENBLAS_NUM_THREADS": ("OPENBLAS_DEFAULT_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "MKL_NUM_THREADS": ("OMP_NUM_THREADS",),
    "BLIS_NUM_THREADS": ("OMP_NUM_THREADS",),
    "VECLIB_MAXIMUM_THREADS": (),
    "NUMEXPR_NUM_THREADS": ("OMP_NUM_THREADS",),
    "NUMBA_NUM_THREADS": (),
    "BLOSC_NTHREADS": (),
    "RAYON_NUM_THREADS": (),
    "POLARS_MAX_THREADS": (),
}


def thread_variables(count: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to ``environ``, so that each library starts at most ``count`` threads.

    One that is set there already, or that stands back for one that is, is not among them: the user's word wins.
    """
    return {
        name: str(count)
        for name, behind in _VARIABLES.items()
        if not any(environ.get(other) for other in (name, *behind))
    }
