// Predicts the digits of a file of pictures: 64 floats each, one picture after the other.
//
//     predict WEIGHTS PICTURES
#include "digits.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <vector>

static std::vector<float> read_pictures(const char *path)
{
    std::ifstream file(path, std::ios::binary);
    std::vector<float> pictures;
    float value;
    while (file.read(reinterpret_cast<char *>(&value), sizeof value)) {
        pictures.push_back(value);
    }
    return pictures;
}

int main(int count, char **arguments)
{
    if (count != 3) {
        std::fprintf(stderr, "usage: predict WEIGHTS PICTURES\n");
        return 2;
    }
    try {
        digits::Options options;
        options.weights = arguments[1];
        digits::Model model(options);

        // How many pictures there are follows from how many numbers there are.
        digits::Predict::Feeds feeds;
        const std::vector<float> pictures = read_pictures(arguments[2]);
        feeds.x = pictures;
        const digits::Predict::Results results = model.predict(feeds);

        const auto classes = results.p.shape[1];
        for (std::int64_t i = 0; i < results.p.shape[0]; i++) {
            const float *p = results.p.data() + i * classes;
            std::printf("%d\n", static_cast<int>(std::max_element(p, p + classes) - p));
        }
    } catch (const digits::Error &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
