// Lesson 8, the part in C++: predicts with an exported network, trains it further, saves it.
//
//     example EPOCHS
//
// Built and run by 08_from_session_to_cpp.py in the folder of the export, where its data are.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>

#include "digits.hpp"

template <class T>
static std::vector<T> read(const std::string &path)
{
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) {
        throw std::runtime_error("cannot read " + path);
    }
    std::vector<T> values(static_cast<std::size_t>(file.tellg()) / sizeof(T));
    file.seekg(0);
    file.read(reinterpret_cast<char *>(values.data()),
              static_cast<std::streamsize>(values.size() * sizeof(T)));
    return values;
}

// predict changes no variable, so it may be called on a model that is const.
static double accuracy(const digits::Model &model, const std::vector<float> &images,
                       const std::vector<std::int32_t> &labels)
{
    const auto results = model.predict({images}); // how many images there are, the length tells
    std::size_t right = 0;
    for (std::size_t i = 0; i < labels.size(); i++) {
        right += results.guess[i] == labels[i] ? 1 : 0;
    }
    return static_cast<double>(right) / static_cast<double>(labels.size());
}

int main(int count, char **arguments)
{
    constexpr std::size_t pixels = 64, batch = 64;
    try {
        const auto images = read<float>("images.f32"), test_images = read<float>("test_images.f32");
        const auto labels = read<std::int32_t>("labels.i32");
        const auto test_labels = read<std::int32_t>("test_labels.i32");

        digits::Options options;
        options.weights = digits::weights_file;
        digits::Model model(options);
        std::printf("in C++: %.4f\n", accuracy(model, test_images, test_labels));

        std::mt19937 random(1);
        std::vector<std::size_t> order(labels.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::vector<float> some_images;
        std::vector<std::int32_t> some_labels;
        const int epochs = count > 1 ? std::atoi(arguments[1]) : 10;
        for (int epoch = 0; epoch < epochs; epoch++) {
            std::shuffle(order.begin(), order.end(), random);
            double total = 0;
            for (std::size_t start = 0; start < order.size(); start += batch) {
                const std::size_t end = std::min(start + batch, order.size());
                some_images.clear();
                some_labels.clear();
                for (std::size_t i = start; i < end; i++) {
                    const float *image = images.data() + order[i] * pixels;
                    some_images.insert(some_images.end(), image, image + pixels);
                    some_labels.push_back(labels[order[i]]);
                }
                digits::TrainStep::Feeds feeds;
                feeds.images = some_images;
                feeds.labels = some_labels;
                total += static_cast<double>(model.train_step(feeds).loss) *
                         static_cast<double>(end - start);
            }
            std::printf("in C++, epoch %2d: loss %.4f\n", epoch + 1,
                        total / static_cast<double>(order.size()));
        }
        std::printf("in C++: %.4f\n", accuracy(model, test_images, test_labels));
        model.save("trained.safetensors");
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
