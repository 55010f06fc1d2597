"""`make bench`: the benchmarks that the README quotes; figures in build/bench.json."""

from bench.signin import main

if __name__ == "__main__":
    main()
