// SPDX-License-Identifier: Apache-2.0
// hwmon and IIO: the layouts of their documentation, and what a broken one says.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <string>

#include "sensors/sources.h"
#include "sysfs_tree.h"

using namespace pyenergy;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A chip's attributes, each "name=value".
void chip(const SysfsTree& tree, const std::string& folder,
          std::initializer_list<std::pair<const char*, std::string>> attributes) {
  for (const auto& [name, text] : attributes) tree.write("sys/" + folder + "/" + name, text);
}

DeviceInfo find(const std::string& name) {
  const SourceReport report = enumerate_hwmon("");
  for (const DeviceInfo& info : report.devices) {
    if (info.argument == name) return info;
  }
  FAIL("no sensor ", name);
  return {};
}

std::vector<std::string> names() {
  std::vector<std::string> found;
  for (const DeviceInfo& info : enumerate_hwmon("").devices) found.push_back(info.argument);
  return found;
}

// SI values of the fast channels, in order.
std::vector<double> values(const DeviceInfo& info) {
  const auto sensor = open_hwmon(info, nullptr);
  std::array<Reading, 8> out;
  std::vector<double> found;
  const std::size_t n = sensor->read(ReadGroup::kFast, out);
  for (std::size_t i = 0; i < n; ++i) {
    found.push_back(out[i].value * sensor->channels()[out[i].channel].scale);
  }
  return found;
}

// One power meter of ACPI per sensor, its attributes in device/: NVIDIA's Grace.
void grace(const SysfsTree& tree) {
  const char* const labels[] = {"Module Power Socket 0", "Grace Power Socket 0",
                                "CPU Power Socket 0", "SysIO Power Socket 0"};
  for (int i = 0; i < 4; ++i) {
    const std::string folder = "class/hwmon/hwmon" + std::to_string(i);
    chip(tree, folder, {{"name", "power_meter"}});
    chip(tree, folder + "/device",
         {{"power1_average", std::to_string((4 - i) * 50'000'000)},
          {"power1_average_interval", "50"},
          {"power1_oem_info", labels[i]}});
  }
}

// Orin's rails on a kernel with the mainline driver.
void jetson(const SysfsTree& tree) {
  chip(tree, "class/hwmon/hwmon3",
       {{"name", "ina3221"},
        {"in1_label", "VDD_IN"},
        {"in1_input", "4960"},
        {"curr1_input", "1000"},
        {"in2_label", "VDD_CPU_GPU_CV"},
        {"in2_input", "4950"},
        {"curr2_input", "200"},
        {"in3_label", "NC"},
        {"in3_input", "0"},
        {"curr3_input", "0"},
        {"shunt1_resistor", "5000"},
        {"update_interval", "4"},
        {"samples", "4"},
        {"in7_label", "sum of shunt voltages"}});
}

}  // namespace

TEST_SUITE_BEGIN("hwmon");

TEST_CASE("an AMD GPU: average power, its limit, its place on the bus") {
  const SysfsTree tree;
  chip(tree, "class/hwmon/hwmon2",
       {{"name", "amdgpu"},
        {"power1_average", "203000000"},
        {"power1_label", "PPT"},
        {"power1_cap", "300000000"},
        {"temp1_input", "50000"},
        {"fan1_input", "1200"}});
  chip(tree, "devices/pci0000:00/0000:03:00.0", {{"unique_id", "73a5c1f2d0b4e698"}});
  tree.link("sys/class/hwmon/hwmon2/device", "../../../devices/pci0000:00/0000:03:00.0");
  const DeviceInfo info = find("amdgpu");
  CHECK(info.kind == "gpu");
  CHECK(info.power_max_w == doctest::Approx(300.0));
  CHECK(info.pci_bus_id == "00000000:03:00.0");
  CHECK(info.uuid == "AMD-73a5c1f2d0b4e698");
  const auto sensor = open_hwmon(info, nullptr);
  REQUIRE(sensor->channels().size() == 1);
  CHECK(sensor->channels()[0].name == "power");
  CHECK(sensor->channels()[0].source == "hwmon.amdgpu.average");
  CHECK(sensor->channels()[0].scope == "gpu");
  CHECK(values(info).at(0) == doctest::Approx(203.0));
  CHECK(enumerate_hwmon("0000:03:00.0").devices.size() == 1);
}

TEST_CASE("a chip with input, average and energy has a channel for each; two cards count on") {
  const SysfsTree tree;
  for (const char* folder : {"class/hwmon/hwmon1", "class/hwmon/hwmon10"}) {
    chip(tree, folder,
         {{"name", "amdgpu"},
          {"power1_average", "90000000"},
          {"power1_input", "110000000"},
          {"energy1_input", "5000000"}});
  }
  CHECK(names() == std::vector<std::string>{"amdgpu", "amdgpu-2"});
  const auto channels = open_hwmon(find("amdgpu-2"), nullptr)->channels();
  REQUIRE(channels.size() == 3);
  CHECK(channels[0].name == "power");
  CHECK(channels[0].source == "hwmon.amdgpu.input");
  CHECK(channels[1].name == "power_average");
  CHECK(channels[2].name == "energy");
  CHECK(channels[2].kind == ChannelKind::kCounter);
  const auto read = values(find("amdgpu-2"));
  CHECK(read.at(0) == doctest::Approx(110.0));
  CHECK(read.at(1) == doctest::Approx(90.0));
  CHECK(read.at(2) == doctest::Approx(5.0));
}

TEST_CASE("Intel's discrete GPU has energies of card and chip") {
  const SysfsTree tree;
  chip(tree, "class/hwmon/hwmon4",
       {{"name", "xe"},
        {"energy1_label", "card"},
        {"energy1_input", "1000000"},
        {"energy2_label", "pkg"},
        {"energy2_input", "900000"},
        {"power1_max", "150000000"}});
  CHECK(names() == std::vector<std::string>{"xe-card", "xe-pkg"});
}

TEST_CASE("Grace: module, socket and rails contain one another") {
  const SysfsTree tree;
  grace(tree);
  const DeviceInfo socket = find("grace-power-socket-0");
  CHECK(socket.kind == "cpu");
  CHECK(socket.part_of == "module-power-socket-0");
  CHECK(find("cpu-power-socket-0").part_of == "grace-power-socket-0");
  CHECK(find("sysio-power-socket-0").kind == "rail");
  CHECK(find("module-power-socket-0").kind == "module");
  CHECK(find("module-power-socket-0").part_of.empty());
  CHECK(values(find("module-power-socket-0")).at(0) == doctest::Approx(200.0));
  const auto channel = open_hwmon(socket, nullptr)->channels().at(0);
  CHECK(channel.window_ns == 50 * kMs);
  CHECK(channel.update_ns == Channel::kUnknown);
  // As it is written on the sensor, too.
  CHECK(enumerate_hwmon("Module Power Socket 0").devices.size() == 1);
}

TEST_CASE("Jetson: a rail is volts times amperes, the module's input contains the others") {
  const SysfsTree tree;
  jetson(tree);
  CHECK(names() == std::vector<std::string>{"vdd_in", "vdd_cpu_gpu_cv"});
  CHECK(find("vdd_in").kind == "module");
  CHECK(find("vdd_cpu_gpu_cv").part_of == "vdd_in");
  CHECK(values(find("vdd_in")).at(0) == doctest::Approx(4.96));
  CHECK(values(find("vdd_cpu_gpu_cv")).at(0) == doctest::Approx(0.99));
  const auto channel = open_hwmon(find("vdd_in"), nullptr)->channels().at(0);
  CHECK(channel.update_ns == 4 * kMs);
  CHECK(channel.window_ns == 4 * kMs);
  CHECK(channel.valid_min < 0.0);  // an idle rail's zero may be off
}

TEST_CASE("Jetson before Linux 5.10: the rails of IIO, in milliwatts") {
  const SysfsTree tree;
  chip(tree, "bus/iio/devices/iio:device0",
       {{"name", "ina3221x"},
        {"rail_name_0", "VDD_IN"},
        {"in_power0_input", "5123"},
        {"in_voltage0_input", "19000"},
        {"in_current0_input", "270"},
        {"rail_name_1", "VDD_SYS_GPU"},
        {"in_power1_input", "1024"}});
  chip(tree, "bus/iio/devices/iio_sysfs_trigger", {{"name", "trigger"}});
  CHECK(names() == std::vector<std::string>{"vdd_in", "vdd_sys_gpu"});
  CHECK(find("vdd_sys_gpu").part_of == "vdd_in");
  CHECK(values(find("vdd_in")).at(0) == doctest::Approx(5.123));
  CHECK(open_hwmon(find("vdd_in"), nullptr)->channels().at(0).source == "iio.ina3221x");
}

TEST_CASE("other IIO chips: raw times scale, once where both forms are there") {
  const SysfsTree tree;
  chip(tree, "bus/iio/devices/iio:device1",
       {{"name", "ina226"},
        {"label", "12V rail"},
        {"in_power2_raw", "400"},
        {"in_power2_scale", "25.0"}});
  chip(tree, "bus/iio/devices/iio:device2",
       {{"name", "both"},
        {"in_power_raw", "1"},
        {"in_power_scale", "1"},
        {"in_power_input", "2000"}});
  chip(tree, "bus/iio/devices/iio:device3", {{"name", "none"}, {"in_power0_raw", "1"}});
  CHECK(names() == std::vector<std::string>{"12v-rail", "both"});
  CHECK(values(find("12v-rail")).at(0) == doctest::Approx(10.0));
  CHECK(values(find("both")).at(0) == doctest::Approx(2.0));
  CHECK(has(enumerate_hwmon("").reason, "iio:device3/in_power0_raw: no in_power0_scale"));
}

TEST_CASE("amd_energy: sockets, and single cores left out with a word") {
  const SysfsTree tree;
  chip(tree, "class/hwmon/hwmon5",
       {{"name", "amd_energy"},
        {"energy1_label", "Ecore000"},
        {"energy1_input", "1"},
        {"energy2_label", "Ecore001"},
        {"energy2_input", "2"},
        {"energy3_label", "Esocket0"},
        {"energy3_input", "7000000"}});
  CHECK(names() == std::vector<std::string>{"amd_energy"});
  CHECK(find("amd_energy").kind == "cpu");
  CHECK(values(find("amd_energy")).at(0) == doctest::Approx(7.0));
  CHECK(has(enumerate_hwmon("").reason, "2 energies of single cores"));
}

TEST_CASE("a chip that nobody knows is listed, and says that its scope is not known") {
  const SysfsTree tree;
  chip(tree, "class/hwmon/hwmon0", {{"name", "mystery"}, {"power1_input", "1500000"}});
  const DeviceInfo info = find("mystery");
  CHECK(info.kind == "sensor");
  CHECK(has(info.notes.at(0), "not known"));
  CHECK(values(info).at(0) == doctest::Approx(1.5));
}

TEST_CASE("files that may not be read are named with the command that opens them") {
  const SysfsTree tree;
  chip(tree, "class/hwmon/hwmon5",
       {{"name", "amd_energy"}, {"energy1_label", "Esocket0"}, {"energy1_input", "7000000"}});
  tree.close("sys/class/hwmon/hwmon5/energy1_input");
  const AsNobody nobody;
  const SourceReport report = enumerate_hwmon("");
  CHECK_FALSE(report.available);
  CHECK(has(report.reason, "may not be read"));
  CHECK(has(report.fix,
            "sudo chmod a+r " + tree.path("sys/class/hwmon/hwmon5/energy1_input").string()));
}

TEST_CASE("garbage at the opening is no sensor, later it is no number") {
  const SysfsTree tree;
  chip(tree, "class/hwmon/hwmon0", {{"name", "amdgpu"}, {"power1_average", "hot"}});
  CHECK_FALSE(enumerate_hwmon("").available);
  CHECK(has(enumerate_hwmon("").reason, "power1_average: Bad message"));
  tree.write("sys/class/hwmon/hwmon0/power1_average", "5000000");
  const auto sensor = open_hwmon(find("amdgpu"), nullptr);
  tree.write("sys/class/hwmon/hwmon0/power1_average", "N/A");
  Reading reading;
  REQUIRE(sensor->read(ReadGroup::kFast, {&reading, 1}) == 1);
  CHECK(reading.flags == kInvalid);
  CHECK(reading.status == EBADMSG);
  CHECK(std::isnan(reading.value));
}

TEST_CASE("of a product either factor may fail") {
  const SysfsTree tree;
  jetson(tree);
  const auto sensor = open_hwmon(find("vdd_in"), nullptr);
  for (const char* factor : {"in1_input", "curr1_input"}) {
    const std::string file = std::string("sys/class/hwmon/hwmon3/") + factor;
    tree.write(file, "x");
    Reading reading;
    REQUIRE(sensor->read(ReadGroup::kFast, {&reading, 1}) == 1);
    CAPTURE(factor);
    CHECK(reading.flags == kInvalid);
    tree.write(file, "1000");
  }
}

TEST_CASE("nothing there, or not what was asked for") {
  const SysfsTree tree;
  CHECK(has(enumerate_hwmon("").reason, "no chip in "));
  jetson(tree);
  const SourceReport report = enumerate_hwmon("amdgpu");
  CHECK_FALSE(report.available);
  CHECK(has(report.reason, "no sensor 'amdgpu'; there are vdd_in, vdd_cpu_gpu_cv"));
  const DeviceInfo info = find("vdd_in");
  tree.remove("sys/class/hwmon/hwmon3");
  CHECK_THROWS_WITH_AS(open_hwmon(info, nullptr), "hwmon does not show 'vdd_in' any more",
                       std::runtime_error);
}

TEST_SUITE_END();
