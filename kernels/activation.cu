// Activation functions: see activation.py.
//
// A functor per function: `value` is y of x, `backward` is gx of gy and what it is computed from; two loops take any of
// them. What grows is e^-|x|, which cannot overflow, or is beyond the range where the result is 0 or 1 in any case.
//
// Roofline: 8 bytes per element forward, 12 backward (float), and 20 to 60 operations. Bound by memory.

#include "_common.cuh"

// s = sigmoid(x) and s (1 - s), both with all their digits where they are small
template <typename R> struct Logistic {
  R value, slope;
  __device__ Logistic(R x) {
    const R e = exp(-fabs(x)), part = 1 / (1 + e);
    value = x >= 0 ? part : e * part;
    slope = e * part * part;
  }
};

template <typename R> __device__ R log1p_exp(R x) { return log1p(exp(-fabs(x))); }

// the chance of a standard normal variable to be below x
template <typename R> __device__ R normal(R x) { return erfc(x * R(-0.70710678118654752)) / 2; }

struct Sigmoid {
  template <typename R> static __device__ R value(R x, R, R) { return Logistic<R>(x).value; }
  template <typename R> static __device__ R backward(R gy, R y, R, R) { return gy * (y * (1 - y)); }
};

struct Tanh {
  template <typename R> static __device__ R value(R x, R, R) { return tanh(x); }
  template <typename R> static __device__ R backward(R gy, R y, R, R) { return gy * (1 - y * y); }
};

struct SiLU {
  template <typename R> static __device__ R value(R x, R, R) { return x * Logistic<R>(x).value; }
  template <typename R> static __device__ R backward(R gy, R x, R, R) {
    const Logistic<R> s(x);
    return gy * (s.value + x * s.slope);
  }
};

struct GELU {
  template <typename R> static __device__ R value(R x, R, R) { return x * normal(x); }
  template <typename R> static __device__ R backward(R gy, R x, R, R) {
    return gy * (normal(x) + x * exp(-x * x / 2) * R(0.39894228040143268));  // 1 / sqrt(2 pi)
  }
};

struct GELUTanh {
  template <typename R> struct Argument {
    R value, slope;
    __device__ Argument(R x) {
      const R c = R(1.5957691216057308), k = R(0.044715);  // c = 2 sqrt(2 / pi)
      value = c * x * (1 + k * x * x);
      slope = c * (1 + 3 * k * x * x);
    }
  };
  template <typename R> static __device__ R value(R x, R, R) { return x * Logistic<R>(Argument<R>(x).value).value; }
  template <typename R> static __device__ R backward(R gy, R x, R, R) {
    const Argument<R> v(x);
    const Logistic<R> s(v.value);
    return gy * (s.value + x * s.slope * v.slope);
  }
};

struct Softplus {
  template <typename R> static __device__ R value(R x, R a, R b) {
    const R z = a * x;
    return z > b ? x : ((z > 0 ? z : 0) + log1p_exp(z)) / a;
  }
  template <typename R> static __device__ R backward(R gy, R x, R a, R b) {
    return a * x > b ? gy : gy * Logistic<R>(a * x).value;
  }
};

struct LogSigmoid {
  template <typename R> static __device__ R value(R x, R, R) { return (x < 0 ? x : 0) - log1p_exp(x); }
  template <typename R> static __device__ R backward(R gy, R x, R, R) { return gy * Logistic<R>(-x).value; }
};

struct ELU {
  template <typename R> static __device__ R value(R x, R a, R) { return x > 0 ? x : a * expm1(x); }
  template <typename R> static __device__ R backward(R gy, R x, R a, R) { return x <= 0 ? gy * (a * exp(x)) : gy; }
};

struct LeakyReLU {
  template <typename R> static __device__ R value(R x, R a, R) { return x > 0 ? x : x * a; }
  template <typename R> static __device__ R backward(R gy, R x, R a, R) { return x > 0 ? gy : gy * a; }
};

struct Hardtanh {  // comparisons with NaN are false, so a NaN stays
  template <typename R> static __device__ R value(R x, R a, R b) { return x < a ? a : x > b ? b : x; }
  template <typename R> static __device__ R backward(R gy, R x, R a, R b) { return x <= a || x >= b ? 0 : gy; }
};

// y[i] = f(x[i])
template <typename T, typename F> __global__ void forward(const T* x, Real<T> a, Real<T> b, T* y, int size) {
  elementwise(size, [=](int i) { return load(x + i); },
              [=](int i, Real<T> value) { store(y + i, F::value(value, a, b)); });
}

// gx[i] = gy[i] * df/dx of of[i]
template <typename T, typename F>
__global__ void backward(const T* gy, const T* of, Real<T> a, Real<T> b, T* gx, int size) {
  elementwise(size, [=](int i) { return Two<Real<T>>{load(gy + i), load(of + i)}; },
              [=](int i, Two<Real<T>> from) { store(gx + i, F::backward(from.a, from.b, a, b)); });
}
