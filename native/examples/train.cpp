// Trains the classifier on a file of examples (64 floats and an int64 label each), and saves it.
//
//     train WEIGHTS EXAMPLES STEPS SAVED [INSTRUCTION_SET]
#include "digits.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

struct Examples {
    std::vector<float> x;
    std::vector<std::int64_t> labels;
};

static Examples read_examples(const char *path)
{
    Examples found;
    std::ifstream file(path, std::ios::binary);
    float picture[64];
    std::int64_t label;
    while (file.read(reinterpret_cast<char *>(picture), sizeof picture) &&
           file.read(reinterpret_cast<char *>(&label), sizeof label)) {
        found.x.insert(found.x.end(), picture, picture + 64);
        found.labels.push_back(label);
    }
    return found;
}

int main(int count, char **arguments)
{
    if (count < 5) {
        std::fprintf(stderr, "usage: train WEIGHTS EXAMPLES STEPS SAVED [INSTRUCTION_SET]\n");
        return 2;
    }
    try {
        digits::Options options;
        options.weights = arguments[1];
        if (count > 5) {
            options.instruction_set = arguments[5];
        }
        digits::Model model(options);

        const Examples examples = read_examples(arguments[2]);
        digits::TrainStep::Feeds feeds;
        feeds.x = examples.x;
        feeds.labels = examples.labels;
        const int steps = std::atoi(arguments[3]);
        for (int step = 1; step <= steps; step++) {
            const float loss = model.train_step(feeds).loss;
            if (step == 1 || step == steps) {
                std::printf("step %d: loss %.4f\n", step, static_cast<double>(loss));
            }
        }
        model.save(arguments[4]);
    } catch (const digits::Error &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
