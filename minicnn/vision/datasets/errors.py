"""What goes wrong with data sets; each message is one line that says what, and where."""


class DatasetError(RuntimeError):
    """A data set that can't be had, or a file that is not what it should be."""


class DatasetNotFound(DatasetError):
    """The data set is in none of the places looked in, and wasn't or couldn't be downloaded."""


class FolderError(DatasetError, FileNotFoundError):
    """A folder that holds no pictures by class, or pictures that can't be used.

    PyTorch's users expect a FileNotFoundError where there are none.
    """
