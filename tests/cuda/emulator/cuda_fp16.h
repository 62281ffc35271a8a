#pragma once  // what we use of CUDA's cuda_fp16.h stands in words.h
