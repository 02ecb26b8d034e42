"""Arrays in, arrays out: the statistics, without files and without Nipype."""
