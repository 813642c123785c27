"""`python -m nin`: the commands."""

import sys

COMMANDS = {
    "train": "train a network on Fashion-MNIST, or go on with a run",
    "evaluate": "loss, accuracy, confusion matrix and mistakes of a run",
    "predict": "what a run's network takes pictures for",
    "compare": "runs beside one another",
    "study": "what 1×1 convolutions and NiN do, shown by running them",
}

if len(sys.argv) == 1 or sys.argv[1] in ("-h", "--help"):
    print("nin: Network in Network on Fashion-MNIST\n")
    for name, what in COMMANDS.items():
        print(f"python -m nin.{name:9} {what}")
    print("\nEach shows its flags and examples with --help.")
else:
    if sys.argv[1] in COMMANDS:
        print(f"python -m nin: use python -m nin.{sys.argv[1]}", file=sys.stderr)
    else:
        print(
            f"python -m nin: no command {sys.argv[1]!r}; python -m nin lists them", file=sys.stderr
        )
    sys.exit(2)
