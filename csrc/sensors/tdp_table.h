// SPDX-License-Identifier: Apache-2.0
// Cores, threads and thermal design power of common CPUs, from the vendors' public specification
// pages (ark.intel.com "TDP" or "processor base power", amd.com "default TDP").
#pragma once

#include <string_view>

namespace pyenergy {

struct TdpEntry {
  std::string_view model;  // as in /proc/cpuinfo, without vendor, (R), (TM), "CPU" and clock
  int cores, threads;      // of one package
  double tdp_w;
};

// clang-format off
inline constexpr TdpEntry kTdpTable[] = {
    // AMD EPYC 7001 to 9005
    {"EPYC 7551", 32, 64, 180}, {"EPYC 7601", 32, 64, 180}, {"EPYC 7262", 8, 16, 155},
    {"EPYC 7282", 16, 32, 120}, {"EPYC 7302", 16, 32, 155}, {"EPYC 7352", 24, 48, 155},
    {"EPYC 7402", 24, 48, 180}, {"EPYC 7452", 32, 64, 155}, {"EPYC 7502", 32, 64, 180},
    {"EPYC 7542", 32, 64, 225}, {"EPYC 7552", 48, 96, 200}, {"EPYC 7642", 48, 96, 225},
    {"EPYC 7662", 64, 128, 225}, {"EPYC 7702", 64, 128, 200}, {"EPYC 7742", 64, 128, 225},
    {"EPYC 7H12", 64, 128, 280}, {"EPYC 7F52", 16, 32, 240}, {"EPYC 7313", 16, 32, 155},
    {"EPYC 7343", 16, 32, 190}, {"EPYC 7413", 24, 48, 180}, {"EPYC 7443", 24, 48, 200},
    {"EPYC 7513", 32, 64, 200}, {"EPYC 7543", 32, 64, 225}, {"EPYC 75F3", 32, 64, 280},
    {"EPYC 7643", 48, 96, 225}, {"EPYC 7713", 64, 128, 225}, {"EPYC 7763", 64, 128, 280},
    {"EPYC 7773X", 64, 128, 280}, {"EPYC 9124", 16, 32, 200}, {"EPYC 9224", 24, 48, 200},
    {"EPYC 9254", 24, 48, 200}, {"EPYC 9334", 32, 64, 210}, {"EPYC 9354", 32, 64, 280},
    {"EPYC 9374F", 32, 64, 320}, {"EPYC 9454", 48, 96, 290}, {"EPYC 9474F", 48, 96, 360},
    {"EPYC 9534", 64, 128, 280}, {"EPYC 9554", 64, 128, 360}, {"EPYC 9634", 84, 168, 290},
    {"EPYC 9654", 96, 192, 360}, {"EPYC 9684X", 96, 192, 400}, {"EPYC 9754", 128, 256, 360},
    {"EPYC 9575F", 64, 128, 400}, {"EPYC 9655", 96, 192, 400}, {"EPYC 9755", 128, 256, 500},
    // Intel Xeon E5, Scalable (1st to 5th generation), Max
    {"Xeon E5-2680 v3", 12, 24, 120}, {"Xeon E5-2650 v4", 12, 24, 105},
    {"Xeon E5-2680 v4", 14, 28, 120}, {"Xeon E5-2698 v4", 20, 40, 135},
    {"Xeon E5-2699 v4", 22, 44, 145}, {"Xeon Gold 6130", 16, 32, 125},
    {"Xeon Gold 6148", 20, 40, 150}, {"Xeon Platinum 8160", 24, 48, 150},
    {"Xeon Platinum 8168", 24, 48, 205}, {"Xeon Platinum 8180", 28, 56, 205},
    {"Xeon Silver 4210", 10, 20, 85}, {"Xeon Silver 4214", 12, 24, 85},
    {"Xeon Silver 4216", 16, 32, 100}, {"Xeon Gold 6226R", 16, 32, 150},
    {"Xeon Gold 6230", 20, 40, 125}, {"Xeon Gold 6240", 18, 36, 150},
    {"Xeon Gold 6248", 20, 40, 150}, {"Xeon Gold 6248R", 24, 48, 205},
    {"Xeon Gold 6252", 24, 48, 150}, {"Xeon Platinum 8260", 24, 48, 165},
    {"Xeon Platinum 8268", 24, 48, 205}, {"Xeon Platinum 8280", 28, 56, 205},
    {"Xeon Silver 4310", 12, 24, 120}, {"Xeon Silver 4314", 16, 32, 135},
    {"Xeon Gold 6326", 16, 32, 185}, {"Xeon Gold 6330", 28, 56, 205},
    {"Xeon Gold 6338", 32, 64, 205}, {"Xeon Gold 6348", 28, 56, 235},
    {"Xeon Platinum 8358", 32, 64, 250}, {"Xeon Platinum 8360Y", 36, 72, 250},
    {"Xeon Platinum 8368", 38, 76, 270}, {"Xeon Platinum 8380", 40, 80, 270},
    {"Xeon Gold 6430", 32, 64, 270}, {"Xeon Platinum 8468", 48, 96, 350},
    {"Xeon Platinum 8480+", 56, 112, 350}, {"Xeon Platinum 8490H", 60, 120, 350},
    {"Xeon Max 9480", 56, 112, 350}, {"Xeon Platinum 8558", 48, 96, 330},
    {"Xeon Platinum 8568Y+", 48, 96, 350}, {"Xeon Platinum 8592+", 64, 128, 350},
    // Intel Core, desktop and laptop
    {"Core i7-8700K", 6, 12, 95}, {"Core i9-9900K", 8, 16, 95}, {"Core i7-10700K", 8, 16, 125},
    {"Core i9-10900K", 10, 20, 125}, {"Core i9-11900K", 8, 16, 125},
    {"Core i5-12600K", 10, 16, 125}, {"Core i7-12700K", 12, 20, 125},
    {"Core i9-12900K", 16, 24, 125}, {"Core i5-13600K", 14, 20, 125},
    {"Core i7-13700K", 16, 24, 125}, {"Core i9-13900K", 24, 32, 125},
    {"Core i7-14700K", 20, 28, 125}, {"Core i9-14900K", 24, 32, 125},
    {"Core i7-8550U", 4, 8, 15}, {"Core i7-10750H", 6, 12, 45}, {"Core i7-11800H", 8, 16, 45},
    {"Core i7-12700H", 14, 20, 45}, {"Core i7-13700H", 14, 20, 45}, {"Core i9-13980HX", 24, 32, 55},
    // AMD Ryzen and Threadripper
    {"Ryzen 5 3600", 6, 12, 65}, {"Ryzen 7 3700X", 8, 16, 65}, {"Ryzen 9 3900X", 12, 24, 105},
    {"Ryzen 9 3950X", 16, 32, 105}, {"Ryzen 5 5600X", 6, 12, 65}, {"Ryzen 7 5800X", 8, 16, 105},
    {"Ryzen 7 5800X3D", 8, 16, 105}, {"Ryzen 9 5900X", 12, 24, 105},
    {"Ryzen 9 5950X", 16, 32, 105}, {"Ryzen 5 7600X", 6, 12, 105}, {"Ryzen 7 7700X", 8, 16, 105},
    {"Ryzen 7 7800X3D", 8, 16, 120}, {"Ryzen 9 7900X", 12, 24, 170},
    {"Ryzen 9 7950X", 16, 32, 170}, {"Ryzen 9 7950X3D", 16, 32, 120},
    {"Ryzen 9 9950X", 16, 32, 170}, {"Ryzen 7 5800H", 8, 16, 45}, {"Ryzen 7 6800H", 8, 16, 45},
    {"Ryzen Threadripper 3970X", 32, 64, 280}, {"Ryzen Threadripper 3990X", 64, 128, 280},
    {"Ryzen Threadripper PRO 3995WX", 64, 128, 280},
    {"Ryzen Threadripper PRO 5975WX", 32, 64, 280}, {"Ryzen Threadripper PRO 5995WX", 64, 128, 280},
    {"Ryzen Threadripper PRO 7995WX", 96, 192, 350},
};
// clang-format on

}  // namespace pyenergy
