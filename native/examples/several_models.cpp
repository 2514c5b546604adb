// Two models in one process: each has its own variables, both use one runtime.
//
//     several_models DIGITS_WEIGHTS LETTERS_WEIGHTS
#include "digits.hpp"
#include "letters.hpp"

#include <algorithm>
#include <cstdio>
#include <vector>

int main(int count, char **arguments)
{
    if (count != 3) {
        std::fprintf(stderr, "usage: several_models DIGITS_WEIGHTS LETTERS_WEIGHTS\n");
        return 2;
    }
    try {
        digits::Options for_digits;
        for_digits.weights = arguments[1];
        digits::Model pupil(for_digits), another(for_digits);

        letters::Options for_letters;
        for_letters.weights = arguments[2];
        letters::Model reader(for_letters);

        const std::vector<float> x(64, 0.5F);
        const std::vector<std::int64_t> labels{3};
        digits::Predict::Feeds digits_feeds;
        digits_feeds.x = x;
        letters::Predict::Feeds letters_feeds;
        letters_feeds.x = x;

        // Training one of two models of the same graph leaves the other one alone.
        const auto before = another.predict(digits_feeds);
        digits::TrainStep::Feeds train;
        train.x = x;
        train.labels = labels;
        for (int step = 0; step < 20; step++) {
            pupil.train_step(train);
        }
        const auto trained = pupil.predict(digits_feeds);
        const auto after = another.predict(digits_feeds);
        const auto other = reader.predict(letters_feeds);
        const bool alone = std::equal(before.p.data(), before.p.data() + 10, after.p.data());
        std::printf("%s, %s, %lld classes\n", alone ? "untouched" : "changed",
                    trained.p[3] > before.p[3] ? "learnt" : "not learnt",
                    static_cast<long long>(other.p.shape[1]));
    } catch (const digits::Error &error) {
        std::fprintf(stderr, "digits: %s\n", error.what());
        return 1;
    } catch (const letters::Error &error) {
        std::fprintf(stderr, "letters: %s\n", error.what());
        return 1;
    }
    return 0;
}
