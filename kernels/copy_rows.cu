// Rows from one array to another: see copy_rows.py.
//
// Neighbouring threads have neighbours of a row, so where rows are long a warp reads and writes stretches of memory. Where
// an element lies takes two divisions, each a dozen instructions or more, as long as its way to memory. So what is copied
// at a time is a Unit of 16 bytes where rows, distances and addresses are made of such, as channels in fours are.
//
// Roofline: 8 bytes per element (float), no operation. Bound by memory.

#include "_common.cuh"

// Sizes and distances are in Units. x and y are where the first row begins.
template <typename T, typename Unit>
__global__ void forward(const T* x, T* y, int count, int height, int width, int x_block, int x_step, int y_block,
                        int y_step) {
  const Unit* from = reinterpret_cast<const Unit*>(x);
  Unit* to = reinterpret_cast<Unit*>(y);
  struct Place {
    int block, row, column;
    __device__ Place(int i, int height, int width) : block(i / width / height), row(i / width % height), column(i % width) {}
  };
  elementwise(count, [=](int i) {
    const Place at(i, height, width);
    return from[at.block * x_block + at.row * x_step + at.column];
  }, [=](int i, Unit value) {
    const Place at(i, height, width);
    to[at.block * y_block + at.row * y_step + at.column] = value;
  });
}
