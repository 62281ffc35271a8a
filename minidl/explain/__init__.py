"""What helps to understand a backward pass, and to find what is wrong with one."""
