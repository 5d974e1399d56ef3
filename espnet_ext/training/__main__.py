"""Run ESPnet's training command with `DualOutputTask`: `python -m espnet_ext.training --help`."""

from espnet_ext.progress import guarded_streams
from espnet_ext.training.task import DualOutputTask

if __name__ == "__main__":
    with guarded_streams():
        DualOutputTask.main()
