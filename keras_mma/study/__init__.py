"""Does mixing help, on this data, and can it be told? Methods and seeds in, a verdict out."""
